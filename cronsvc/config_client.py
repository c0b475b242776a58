"""Where the commands of the command line find a service that runs elsewhere."""

from pydantic import BaseModel, Field, SecretStr


class ClientSettings(BaseModel):
    """What a shell needs to reach a service. No process type reads it."""

    url: str | None = Field(
        None, alias="CRONSVC_URL", description="where commands find the service; none: they go to the database"
    )
    api_key: SecretStr | None = Field(None, alias="CRONSVC_API_KEY", description="the API key that they show there")
