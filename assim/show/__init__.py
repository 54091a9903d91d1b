"""WHAT a person sees: pictures and the report, from finished files or from Datasets in memory.

`write_report(directory)` is the way in; `results(summary, datasets)` with `report.draw` and
`report.render` makes the same sections of what is in memory. matplotlib is imported when a picture
is drawn, not before.
"""

from assim.files.errors import ReportError as ReportError
from assim.show.finished import results as results
from assim.show.report import write_report as write_report
