"""Both makers' own packages on emulated lines."""

import pytest

IDS = list(range(1, 7))
PATIENT_MS = 5000  # on a busy computer an answer may take longer than the packages wait


@pytest.fixture
def opened():
    """Give what opens a line with a maker's package: port and packet handler."""
    ports = []

    def open_port(sdk, line, version, patient_ms=PATIENT_MS):
        port = sdk.PortHandler(line.path)
        ports.append(port)
        assert port.setBaudRate(1_000_000)
        port.ser.timeout = 0.005
        port.setPacketTimeout = lambda length: port.setPacketTimeoutMillis(patient_ms)
        return port, sdk.PacketHandler(version)

    yield open_port
    for port in ports:
        port.closePort()
