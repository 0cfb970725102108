"""Looking at shard sets: statistics, flags, contact sheets, galleries. Importing this package costs nothing.

examine     one pass over the records -> InspectReport          report      the report and what `--fail-on` objects to
terminal    the report on a terminal                            one         one record on a terminal
sheet       contact sheets and single pictures as PNG           gallery     one offline HTML file
server      the gallery over a whole set                        select      which records are shown; their keys
where       the language of `--where` and `--sort`              flags       the stable codes and `explain`
"""
