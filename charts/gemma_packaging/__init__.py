"""What turns the tree into a release: the chart's README, the list of reasons, licences, SBOMs, `dist/`."""
