"""What the page may send, checked before anything is done with it. Unknown fields are refused by name."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Id = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")]
Minutes = Annotated[float, Field(gt=0, le=100_000)]
Line = Annotated[str, Field(max_length=1000)]


class Asked(BaseModel):
    """Base of all that is sent: closed, so that a slip of the pen is an answer and not a silence."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class DataChoice(Asked):
    """Your own data: what was uploaded, or a folder of this machine."""

    upload: Id | None = None
    folder: Id | None = None

    @model_validator(mode="after")
    def _one(self) -> DataChoice:
        if (self.upload is None) == (self.folder is None):
            raise ValueError("name an upload or a folder, one of the two")
        return self


class JobWanted(Asked):
    """A training to put into the queue: of a recipe, or further on with a run."""

    recipe: Id | None = None
    resume: Id | None = Field(None, description="a run to go on with, in place of a recipe")
    minutes: Minutes | None = Field(None, description="a wall-clock budget in place of a number of steps")
    overrides: dict[Annotated[str, Field(max_length=100)], Line] = Field({}, max_length=200)
    data: DataChoice | None = None
    start: Id | None = Field(None, description="a run whose weights training begins with")
    name: Annotated[str, Field(max_length=80)] | None = Field(None, description="of the run, in your words")

    @model_validator(mode="after")
    def _one(self) -> JobWanted:
        if (self.recipe is None) == (self.resume is None):
            raise ValueError("name a recipe, or a run to resume, one of the two")
        return self


class ResumeWanted(Asked):
    """How long to go on: to the end of the plan, or for some minutes."""

    minutes: Minutes | None = None


class EstimateWanted(Asked):
    """A recipe as it would be trained."""

    recipe: Id
    overrides: dict[Annotated[str, Field(max_length=100)], Line] = Field({}, max_length=200)
    data: DataChoice | None = None
    minutes: Minutes | None = None


class StepWanted(Asked):
    """One training step to watch."""

    run: Id | None = None
    again: bool = False


class FileChoice(Asked):
    """A file for an ask: one that was uploaded, or one that an ask has made."""

    upload: Id | None = None
    result: Id | None = None
    file: Id | None = None

    @model_validator(mode="after")
    def _one(self) -> FileChoice:
        if (self.upload is None) == (self.result is None) or (self.result is not None and self.file is None):
            raise ValueError("name an upload, or a result and one of its files")
        return self


Stop = Annotated[str, Field(max_length=200)]
Value = bool | int | float | Annotated[str, Field(max_length=200_000)] | FileChoice | None


class AskWanted(Asked):
    """The arguments of an ask; what is left out keeps its default."""

    arguments: dict[Annotated[str, Field(max_length=100)], Value] = Field({}, max_length=100)
    at: Literal["latest", "best"] | Annotated[int, Field(ge=0, le=10**12)] | None = None


class LiveWanted(AskWanted):
    """One question on the live socket."""

    id: int
    channel: Annotated[str, Field(max_length=100)] = ""
    run: Id
    ask: Annotated[str, Field(max_length=100)]


class UploadWanted(Asked):
    """A new, empty upload."""

    name: Annotated[str, Field(max_length=80)] = ""
    purpose: Literal["data", "ask"] = Field("data", alias="for")


class KeepWanted(Asked):
    """Whether a result stays."""

    kept: bool = True


class TrashWanted(Asked):
    """The name of the run, so that nothing is thrown away by a slip."""

    name: Annotated[str, Field(max_length=300)]


class CompletionWanted(BaseModel):
    """OpenAI's body of /v1/completions; fields that we do not know are left aside, as clients send many."""

    model_config = ConfigDict(extra="ignore", allow_inf_nan=False)

    model: Annotated[str, Field(max_length=200)]
    prompt: Annotated[str, Field(max_length=200_000)] | Annotated[list[Annotated[str, Field(max_length=200_000)]],
                                                                   Field(min_length=1, max_length=16)] = ""  # fmt: skip
    n: Annotated[int, Field(ge=1, le=16)] = 1
    max_tokens: Annotated[int, Field(ge=1, le=4096)] = 16
    temperature: Annotated[float, Field(ge=0, le=2)] = 1.0
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    top_k: Annotated[int, Field(ge=0, le=100_000)] = 0
    min_p: Annotated[float, Field(ge=0, le=1)] = 0.0
    repetition_penalty: Annotated[float, Field(ge=0.1, le=10)] = 1.0
    stop: Stop | Annotated[list[Stop], Field(max_length=4)] | None = None
    seed: Annotated[int, Field(ge=0, le=2**31)] = 0
    stream: bool = False
    stream_options: dict[str, Any] | None = None
    logprobs: Annotated[int, Field(ge=0, le=5)] | None = None
    echo: bool = False
