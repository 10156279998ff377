"""From a Schedule to what a framework steps: a torch `LRScheduler`, a Lightning callback and module."""
