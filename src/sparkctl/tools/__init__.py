"""Eight tools that a policy calls with a string. Only `live` and `mcp_server` reach the network.

`toolbox()` is the way in: one call per step, an `Observation` back.
Importing this package starts no process and loads neither sympy nor pint; a tool is opened at its first call.
"""

from sparkctl.tools.observation import Document, Observation, ToolFailed
from sparkctl.tools.toolbox import Toolbox, toolbox

__all__ = ["Document", "Observation", "ToolFailed", "Toolbox", "toolbox"]
