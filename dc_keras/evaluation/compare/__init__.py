"""Several runs that evaluate.py has judged, in one table: which is better, and is it by chance?"""
