"""Your own text: a file, or a directory of .txt files."""

from collections.abc import Hashable
from dataclasses import dataclass
from pathlib import Path

from transformer_jax.data.corpora.base import Corpus, Splits, corpora
from transformer_jax.data.files import check_file, read_text, stamp
from transformer_jax.data.splitting import by_content, check_fraction
from transformer_jax.errors import UserError


@corpora.register("text")
@dataclass(frozen=True)
class Text(Corpus):
    """UTF-8 text. A file is one document, or several where `separator` is given.

    Documents are held out whole, chosen by a hash of their content; the end of the text is held out where
    there are fewer than three.

    Attributes:
      path: a file, or a directory of which every .txt file is read.
      separator: what stands between documents, for example '\\n\\n' for blank lines.
      held_out: fraction for valid, and as much for test.
    """

    path: str = ""
    separator: str = ""
    held_out: float = 0.05

    def check(self) -> None:
        check_fraction(self.held_out)
        self._files()

    def stamp(self) -> Hashable:
        try:
            return tuple(stamp(str(file)) for file in self._files())
        except UserError:
            return None

    def read(self) -> Splits:
        documents = []
        for file in self._files():
            text = read_text("text", file)
            documents += [part.strip("\n") for part in text.split(self.separator)] if self.separator else [text]
        return by_content([text for text in documents if text.strip()], self.held_out)

    def _files(self) -> list[Path]:
        folder = Path(self.path).expanduser()
        if not (self.path and folder.is_dir()):
            return [check_file("text", self.path)]
        files = sorted(folder.glob("*.txt"))
        if not files:
            raise UserError(f"corpus 'text', path={self.path!r}: the directory holds no .txt file")
        return files
