"""The page that shows a finished search: one offline HTML file."""
