"""Reports as one HTML file each, plots inside; they open anywhere and load nothing."""
