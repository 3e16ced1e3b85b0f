"""What runs inside of the jails; it sees nothing of the project but this folder.

It imports modules of the standard library that are cheap to load and small in memory: the cost of
a sample is that of forking and ending the process that imported them.
"""
