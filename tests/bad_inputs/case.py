"""One bad input: how it is made, what is run on it, and what must come back."""
import dataclasses
import os
from typing import Callable


class Work:
    """The folder of one case."""

    def __init__(self, folder):
        self.folder = folder

    def path(self, name):
        return os.path.join(self.folder, name)

    def write(self, name, data):
        """Writes a file (folders are made) and returns its path."""
        path = self.path(name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(data if isinstance(data, bytes) else data.encode())
        return path

    def sparse(self, name, size, head=b""):
        """A file of `size` bytes that takes no room on the disk."""
        path = self.write(name, head)
        os.truncate(path, size)
        return path


@dataclasses.dataclass
class Case:
    id: str  # of the class: "F03"; the runner counts classes and cases
    title: str
    code: int
    says: list  # pieces of the message, any case of letters
    make: Callable  # make(work) -> arguments of quern, or the path of a checkpoint that is built
    environment: dict = dataclasses.field(default_factory=dict)  # None removes a variable
    limits: dict = dataclasses.field(default_factory=dict)  # resource name -> value
    stdout: str = "pipe"  # pipe, closed, full, broken (its reader is gone)
    creates: list = dataclasses.field(default_factory=list)  # what a good end leaves behind, below the folder
    check: Callable = None  # check(work, result) -> text of a problem or None
    during: Callable = None  # during(work, process): acts while it runs
    seconds: float = 2
    user: int = None  # runs as this user id when the tests run as root


def hf_case(id, title, code, says, change, **rest):
    """A Hugging Face checkpoint; change(checkpoint) edits it before it is written to model/."""
    from tiny import HfCheckpoint

    def make(work):
        checkpoint = HfCheckpoint()
        change(checkpoint)
        checkpoint.write(work.path("model"))
        return work.path("model")

    return Case(id, title, code, says, make, **rest)


def gguf_case(id, title, code, says, change, **rest):
    """A GGUF file; change(gguf) edits it, and may return the file's bytes."""
    from tiny import Gguf

    def make(work):
        gguf = Gguf()
        data = change(gguf)
        return work.write("model.gguf", data if isinstance(data, bytes) else gguf.bytes())

    return Case(id, title, code, ["model.gguf"] + says, make, **rest)
