"""Eight offline tools that a policy calls with a string. Nothing here reaches the network.

`toolbox()` is the way in: one call per step, an `Observation` back, and no exception whatever the string.
Importing this package starts no process and loads neither sympy nor pint; a tool is built at its first call.
"""

from sparkctl.tools.observation import Document, Observation
from sparkctl.tools.toolbox import Toolbox, toolbox

__all__ = ["Document", "Observation", "Toolbox", "toolbox"]
