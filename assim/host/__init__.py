"""The engine inside a foreign program, which keeps its own time loop."""

from assim.host.engine import Engine as Engine
from assim.host.errors import Action as Action
from assim.host.errors import HostError as HostError
from assim.host.ranks import Ranks as Ranks
