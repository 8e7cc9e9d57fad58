"""opsboard: one correlated log of all that happens between a firm's systems.

Nothing is imported here: `opsboard.client` runs in jobs that have neither Django nor Celery.
"""
