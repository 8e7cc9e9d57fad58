"""Foreign files read as neutral records: tables (CSV, XLSX, JSON Lines) and process logs (OCEL 2.0, XES).

One module per format. Whatever the size of a file, a reader holds only a piece of it; what cannot be read is a record
too, with its place and the reason, so that nothing disappears without a word.
"""
