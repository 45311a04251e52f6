"""Every table and figure of both papers that is an experiment, declared as data and run by one runner."""
