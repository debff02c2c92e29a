"""Where the page is to be found, and what it shows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge, Le
from pydantic import PositiveInt

from robolearn.errors import UserError
from robolearn.settings import Settings

HERE = ("127.0.0.1", "localhost", "::1")
PORT = 8765
Port = Annotated[int, Ge(0), Le(65535)]


@dataclass(frozen=True)
class PageConfig(Settings):
    """A page in the browser, beside a session."""

    host: str = "127.0.0.1"
    """The address that it listens on."""
    port: Port | None = None
    """None: 8765, or a free one where that is taken; 0: a free one."""
    open_to_network: bool = False
    """Needed for any host but this machine: who reaches the page and knows its address steers."""
    cameras: tuple[str, ...] = ()
    """Cameras that it shows, the largest first."""
    image_size: tuple[PositiveInt, PositiveInt] = (320, 320)
    """Height and width of their pictures."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.host not in HERE and not self.open_to_network:
            raise UserError(
                f"page.host: {self.host} lets other machines steer: page.open_to_network=true if "
                "that is wanted; ssh -L 8765:localhost:8765 reaches a page without it"
            )
