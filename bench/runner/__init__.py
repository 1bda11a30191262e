"""What ./dev bench does after building: bench/run starts it.

model      implementations, workloads, figures
catalogue  which programs are run for which workload, and how
measure    runs them in turn
machine    what it ran on
stats      medians, ranges, numbers for people
targets    the goals, and by how much they are missed
tables     Markdown
plots      SVG
"""
