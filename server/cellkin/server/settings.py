"""Settings of the server process."""

from typing import Annotated

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class ServerSettings(BaseSettings):
    """What a server runs with; every field can be set as ``CELLKIN_SERVER__FIELD``."""

    model_config = SettingsConfigDict(env_prefix="CELLKIN_SERVER__", frozen=True)

    store: str
    """URI of the store."""
    listen: str = "127.0.0.1:50051"
    """``host:port``; port 0 takes a free one."""
    threads: Annotated[int, Field(ge=1, le=1024)] = 16
    """Requests answered at once; each stream holds one."""
    max_message_bytes: Annotated[int, Field(ge=1 << 20, le=1 << 30)] = 64 << 20
    """Largest message taken."""
    refresh_s: Annotated[float, Field(ge=0, le=3600)] = 2.0
    """Seconds for which the catalog is taken as read; new versions are seen after that."""
    grace_s: Annotated[float, Field(ge=0, le=3600)] = 5.0
    """Seconds that running requests are given when the server is told to stop."""
