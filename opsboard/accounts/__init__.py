"""Who may do what: people, their roles and legal entities, and the service accounts of the jobs."""
