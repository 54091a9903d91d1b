"""WHAT a person sees: pictures and the report, made from finished files alone.

`write_report(directory)` is the way in. matplotlib is imported when a report is made, not before.
"""

from assim.files.errors import ReportError as ReportError
from assim.show.report import write_report as write_report
