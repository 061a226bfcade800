"""Where the clients' programs come from: PyPI, and a package of Debian for Prometheus."""

import hashlib
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent


class Environments:
    """A Python environment for each requirements file, made when first needed, below one folder."""

    def __init__(self, folder):
        self.folder = folder.absolute()

    def python(self, requirements):
        """The interpreter of an environment that holds what the file names."""
        file = HERE / requirements
        place = self.folder / file.stem
        installed, wanted = place / "installed", hashlib.sha256(file.read_bytes()).hexdigest()
        if not installed.exists() or installed.read_text() != wanted:
            print(f"installing {requirements}", file=sys.stderr)
            run(sys.executable, "-m", "venv", "--clear", place)
            run(place / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", file)
            installed.write_text(wanted)
        return place / "bin" / "python"

    def prometheus(self):
        """The folder of prometheus and promtool: those of the machine, or of Debian's package, unpacked without root."""
        found = [shutil.which(name) for name in ("prometheus", "promtool")]
        if all(found):
            return Path(found[0]).parent
        place = self.folder / "prometheus"
        if not (place / "usr" / "bin" / "promtool").exists():
            if not shutil.which("apt-get"):
                sys.exit("error: install prometheus and promtool: there is no apt-get to fetch Debian's package with")
            print("fetching Debian's package of Prometheus", file=sys.stderr)
            with tempfile.TemporaryDirectory() as folder:
                run("apt-get", "download", "prometheus", cwd=folder)
                run("dpkg", "-x", next(Path(folder).glob("*.deb")), place)
        return place / "usr" / "bin"


def run(*words, cwd=None):
    text = [str(word) for word in words]
    done = subprocess.run(text, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode != 0:
        sys.exit(f"error: {' '.join(text)} ended with {done.returncode}:\n{done.stdout[-3000:]}")
