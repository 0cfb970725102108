"""Looking at shard sets: statistics, flags, contact sheets, galleries. Importing this package costs nothing.

concat          several sets as one numbered sequence of records
reading         records with their statistics (record_stats) and findings (checks, leaks; flags explains them)
selection       which records are shown; filters is the language of `--where` and `--sort`
inspection      one pass over the records -> InspectReport (report, by the numbers of statistics)
*_terminal      report and single record on a terminal          sheet       contact sheets and single records as PNG
gallery         one offline HTML file (page)                    server      the page over a whole set, which view_cache,
record_page     what a page shows of a record                               search_index and stamp_data.web serve
"""
