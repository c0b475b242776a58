"""The keys for secrets of a `cronsvc up` that was given none: made once, kept in its data folder for its owner alone.

Without that file the secrets in the database cannot be read again: back it up, somewhere else than the database.
"""

from pathlib import Path

from pydantic import SecretStr, TypeAdapter, ValidationError

from cronsvc.config import Settings
from cronsvc.config_values import SecretKeys
from cronsvc.errors import ConfigError
from cronsvc.processes.together import write_private
from cronsvc.services.sealing import new_key

FILE = "secret-keys"


def with_secret_keys(settings: Settings, data_dir: Path) -> Settings:
    """The settings with the keys of `data_dir`, unless they have some. ConfigError: the file holds no keys."""
    if settings.secret_keys is not None:
        return settings
    path = data_dir / FILE
    try:
        if not path.exists():
            data_dir.mkdir(parents=True, exist_ok=True)
            write_private(path, new_key() + "\n")
        keys: SecretStr = TypeAdapter(SecretKeys).validate_python(SecretStr(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise ConfigError(f"cannot keep the keys for secrets in {path}: {error.strerror}") from error
    except (ValidationError, UnicodeDecodeError):
        raise ConfigError(f"{path} holds no keys for secrets; bring it back from a backup, or move it away") from None
    return settings.model_copy(update={"secret_keys": keys})
