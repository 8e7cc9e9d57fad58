"""Numbers of exceptions. They are given once, kept in the log with the event that raises the exception."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("triage", "0001_initial")]
    operations = [migrations.RunSQL("CREATE SEQUENCE triage_case_number START 1001", "DROP SEQUENCE triage_case_number")]
