"""Contract tests and awkward mocks, for wsiseg itself and for plug-in authors."""
