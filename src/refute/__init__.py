"""refute: put claims about deep nets to the test.

>>> from refute import catalogue
>>> "layer-criticality" in catalogue.names()
True
"""
