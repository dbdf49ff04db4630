"""What a tensor is: families as data, recognition with explanation, names in every dialect, blocks."""
