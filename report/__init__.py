"""Shows results: template, figures, tables and words; computes no statistic.

The front door is `report.render`: an `analysis.results.Analysis`, the runs table and a `ReportContext` in,
one page out.
"""
