"""The umask of the workers, and so of the files that the application makes."""

from tests.process.directory import AppDirectory
from tests.process.fixtures import Serve


def test_files_of_the_application_have_the_umask_that_is_asked_for(serve: Serve, directory: AppDirectory) -> None:
    made = directory.path / "made"
    directory.deploy("1", before=f"open({str(made)!r}, 'w').close()\n")
    serve(directory, "--umask", "027")
    assert made.stat().st_mode & 0o777 == 0o640
