"""The idealised atmosphere: the lab's measuring rod.

A synthetic atmosphere over a mountainous island whose conditional law is known. The coarse input is a function of the
large-scale state alone; the fine state is drawn from an explicit distribution given that state, so that the *oracle*
ensemble, the best any downscaling model could do, can be drawn for every hour.
"""

from labkit.data.idealised.reader import IdealisedConfig, open_idealised, oracle

__all__ = ["IdealisedConfig", "open_idealised", "oracle"]
