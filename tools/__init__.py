"""The command lines: ``python tools/train.py``, or anywhere ``python -m paco.tools.train``.

``paco/tools`` is a link to this folder, so that an installed package has the commands too. A file
imports its neighbours as ``paco.tools.<name>``, which is right in both cases.
"""
