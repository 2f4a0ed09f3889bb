"""Epitomes: a few stored weights that stand for many, and the rounds in which crossbars work on them.

Source: EPIM (arXiv 2311.07620). Only its abstract and summaries could be had: operator and tables are recalled, and how
rounds are merged is derived here.
"""
