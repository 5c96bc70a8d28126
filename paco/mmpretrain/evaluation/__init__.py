"""The metric of long-tailed test results."""
