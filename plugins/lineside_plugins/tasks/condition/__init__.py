"""The condition task: does a labelled event follow, by what a plant's own recordings taught."""
