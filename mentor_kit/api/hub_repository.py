"""A model's repository on the hub: whether it may be written to, and one commit with everything in a folder.

    check ── token ── who it is ── what is there ──> upload ── create ── files ── one commit

All of it goes through huggingface_hub, to the hub or the server in its place (`HF_ENDPOINT`).
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from mentor_kit.backend.base_model import is_hub_id
from mentor_kit.core.errors import MentorKitError, MissingError, UsageError

if TYPE_CHECKING:
    from huggingface_hub import HfApi, ModelInfo
    from huggingface_hub.errors import HfHubHTTPError

#: Files that make a repository the model it is. Those of an earlier push would still be loaded beside the new ones.
_MODEL_FILES = (
    "config.json",
    "generation_config.json",
    "adapter_config.json",
    "model*.safetensors",
    "model.safetensors.index.json",
    "adapter*.safetensors",
)
#: Files of a repository that was made on the hub's page and is still empty.
_EMPTY = {".gitattributes", "README.md", "LICENSE"}
#: Hidden files of an export that belong to it.
_SHOWN = (".eval_results/",)


@dataclass(frozen=True)
class PushedFile:
    """A file of a push."""

    path: str
    """Relative to the folder, with slashes."""
    bytes: int


@dataclass(frozen=True)
class Commit:
    """What a push left on the hub."""

    url: str
    """The model's page."""
    id: str
    """The commit's hash."""
    removed: tuple[str, ...]
    """Files of an earlier push that were removed."""


def files_of(folder: Path) -> tuple[PushedFile, ...]:
    """The files of an exported folder that are pushed, by path; hidden ones other than evaluation results are not."""
    found = []
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        hidden = any(part.startswith(".") for part in name.split("/")) and not name.startswith(_SHOWN)
        if path.is_file() and not hidden:
            found.append(PushedFile(name, path.stat().st_size))
    return tuple(found)


class HubRepository:
    """A model's repository.

    Args:
        id: `owner/name`.
        endpoint: the hub's address; `HF_ENDPOINT`, or the hub's own, if left out.

    Raises:
        UsageError: the id has another form.
        MissingError: huggingface_hub is not installed.
    """

    def __init__(self, id: str, endpoint: str | None = None) -> None:
        if not is_hub_id(id):
            raise UsageError(
                f"{id!r} is no name for a repository on the hub",
                hint="give owner/name, of letters, digits, - _ and ., such as my-user/my-student",
            )
        self.id = id
        self._endpoint = endpoint

    @cached_property
    def _api(self) -> HfApi:
        try:
            from huggingface_hub import HfApi
        except ImportError:
            raise MissingError("huggingface_hub is not installed", hint="pip install huggingface_hub") from None
        return HfApi(endpoint=self._endpoint or os.environ.get("HF_ENDPOINT"))

    def check(self, *, private: bool, update: bool) -> None:
        """Find out whether a push can succeed, before anything is exported. Nothing is changed.

        Args:
            private: whether the repository must not be public.
            update: whether it may have files already.

        Raises:
            MissingError: there is no token, or no network.
            UsageError: the repository has files, or is public.
            MentorKitError: the hub refuses the token, or may not be written to with it.
        """
        with self._errors():
            if (self._api.token or _token()) is None:
                raise MissingError(
                    "there is no token for the hub",
                    hint="make one with write access at https://huggingface.co/settings/tokens, then "
                    "`export HF_TOKEN=…` or `hf auth login`",
                )
            access = self._api.whoami().get("auth", {}).get("accessToken", {})
            if access.get("role") == "read":
                raise MentorKitError(
                    f"the token {access.get('displayName', '')!r} may only read",
                    hint="make one with write access at https://huggingface.co/settings/tokens",
                )
            found = self._found()
        if found is None:
            return
        if private and not found.private:
            raise UsageError(
                f"{self.id} is there already, and public", hint="make it private on its page, or leave --private out"
            )
        names = {file.rfilename for file in found.siblings or ()}
        if names - _EMPTY and not update:
            raise UsageError(
                f"{self.id} is there already, with {len(names)} files",
                hint="--update commits over them (the hub keeps earlier commits); or give another name",
            )

    def upload(self, folder: Path, files: Sequence[PushedFile], message: str, *, private: bool) -> Commit:
        """Commit files of a folder, and create the repository where there is none.

        Weights of an earlier push that the folder has not are removed in the same commit.

        Raises:
            MissingError: there is no network.
            MentorKitError: the hub refuses something; the message has its words.
        """
        from huggingface_hub import CommitOperationAdd, CommitOperationDelete

        with self._errors():
            if (found := self._found()) is None:
                self._api.create_repo(self.id, private=private or None)
            new = {file.path for file in files}
            others = [] if found is None else [file.rfilename for file in found.siblings or ()]
            stale = [name for name in others if name not in new and _is_of_model(name)]
            additions = [CommitOperationAdd(file.path, str(folder / file.path)) for file in files]
            deletions = [CommitOperationDelete(name) for name in stale]
            done = self._api.create_commit(self.id, [*deletions, *additions], commit_message=message)
            return Commit(f"{self._api.endpoint}/{self.id}", done.oid, tuple(stale))

    def _found(self) -> ModelInfo | None:
        """The repository as it is; None where there is none, or none that this token may see."""
        from huggingface_hub.errors import RepositoryNotFoundError

        try:
            return self._api.model_info(self.id)
        except RepositoryNotFoundError:
            return None

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Turn what huggingface_hub raises into errors that say what to do."""
        from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

        try:
            yield
        except MentorKitError:
            raise
        except HfHubHTTPError as error:
            raise self._refused(error) from error
        except OfflineModeIsEnabled as error:
            raise MissingError("the hub's client is set to work offline", hint="unset HF_HUB_OFFLINE") from error
        except ValueError as error:  # such as metadata of the card that the hub does not take
            raise MentorKitError(f"the hub does not take this student: {error}") from error
        except RuntimeError as error:  # of the library that moves large files
            raise MentorKitError(f"the upload to {self.id} failed: {error}", hint="push again") from error
        except Exception as error:
            # the client's classes for a broken connection differ by its version
            of_network = type(error).__module__.partition(".")[0] in ("httpx", "httpx2", "requests", "urllib3")
            if not (of_network or isinstance(error, ConnectionError | TimeoutError)):
                raise
            raise MissingError(
                f"the hub at {self._api.endpoint} does not answer: {error}", hint="check the network, then push again"
            ) from error

    def _refused(self, error: HfHubHTTPError) -> MentorKitError:
        """The error for an answer of the hub."""
        status = error.response.status_code
        said = (error.server_message or str(error).splitlines()[0]).strip().rstrip(".")
        if status == 401:
            return MentorKitError(
                f"the hub does not know the token (401): {said}",
                hint="check HF_TOKEN, which comes before `hf auth login`; "
                "tokens are at https://huggingface.co/settings/tokens",
            )
        if status == 403:
            owner = self.id.partition("/")[0]
            return MentorKitError(
                f"the token may not write to {self.id} (403): {said}",
                hint=f"is {owner!r} you, or an organization you may write to? A token has rights of its own: "
                "https://huggingface.co/settings/tokens",
            )
        if status == 409:
            return MentorKitError(f"the name {self.id} is taken (409): {said}", hint="give another name")
        again = "try again later" if status in (429, 500, 502, 503, 504) else None
        return MentorKitError(f"the hub refused {self.id} ({status}): {said}", hint=again)


def _is_of_model(name: str) -> bool:
    return any(fnmatch(name, pattern) for pattern in _MODEL_FILES)


def _token() -> str | None:
    from huggingface_hub import get_token

    return get_token()
