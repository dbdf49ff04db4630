"""Reports as one HTML file: data, style and script inside, pictures beside it or embedded."""
