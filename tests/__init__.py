"""The suite: what each folder tests is said in STYLE's section on tests."""
