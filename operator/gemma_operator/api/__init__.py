"""Room 1, the language: the GemmaDeployment resource, its reasons, and the words everything else uses."""
