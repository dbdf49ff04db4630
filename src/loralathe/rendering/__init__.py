"""Pictures from one checkpoint file, with adapters applied per image at run time."""
