"""The line discipline N_TTY: what a terminal does to bytes on their way in and out (drivers/tty/n_tty.c,
termios(3)).

Input comes in by ``receive``: it is edited into lines (canonical mode), echoed, searched for signal and
flow-control characters, and waits for ``read``. Output goes through ``write``, which expands newlines and
tabs.

Nothing here waits or knows of tasks; a ``Port`` is what lies behind (the terminal).
"""

from __future__ import annotations

from collections import deque

from runsc.abi.signal import SIGINT, SIGQUIT, SIGTSTP
from runsc.abi.termios import (
    DISABLED,
    ECHO,
    ECHOCTL,
    ECHOE,
    ECHOK,
    ECHOKE,
    ECHONL,
    ECHOPRT,
    EXTPROC,
    ICANON,
    ICRNL,
    IEXTEN,
    IGNCR,
    INLCR,
    ISIG,
    ISTRIP,
    IUCLC,
    IUTF8,
    IXANY,
    IXON,
    NOFLSH,
    OCRNL,
    OLCUC,
    ONLCR,
    ONLRET,
    ONOCR,
    OPOST,
    PARMRK,
    TABDLY,
    VEOF,
    VEOL,
    VEOL2,
    VERASE,
    VINTR,
    VKILL,
    VLNEXT,
    VQUIT,
    VREPRINT,
    VSTART,
    VSTOP,
    VSUSP,
    VWERASE,
    XTABS,
)  # fmt: skip
from runsc.hints import Protocol

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runsc.kernel.tty.termios import Termios

#: How much input waits at most; one byte less than this can be used.
BUFFER_SIZE = 4096

# Echo operations: 0-255 is a character that goes through output processing; others have a bit above.
_CTRL = 0x100  # | character: shown as ^X
_LITERAL_FF = 0x200
_SET_CANON_COL = 0x300
_MOVE_BACK_COL = 0x301
_ERASE_TAB = 0x400  # | number of columns, 0x80: behind another tab

_NEWLINE, _RETURN, _TAB, _BACKSPACE, _FF = 10, 13, 9, 8, 255

#: Bytes that output processing leaves alone and that move the cursor by one.
_PLAIN_OUTPUT = bytes(range(32, 127))
_PLAIN_WITH_NEWLINE = _PLAIN_OUTPUT + b"\n"


class Port(Protocol):
    """The terminal a line discipline works for."""

    flow_stopped: bool
    output_off: bool

    def output_room(self) -> int:
        """How many bytes ``output`` takes now (0 while stopped)."""

    def output(self, data: bytes) -> int:
        """Send bytes to the other side, stopped or not; how many it took."""

    def start_output(self) -> None: ...

    def stop_output(self) -> None: ...

    def flush_output(self) -> None:
        """Forget output that the other side hasn't received."""

    def signal(self, signo: int) -> None:
        """Signal the foreground process group."""

    def input_flushed(self) -> None:
        """Input was thrown away (packet mode tells)."""

    def input_arrived(self) -> None:
        """There is something to read."""


def _is_control(char: int) -> bool:
    return char < 32 or char == 127


def _is_alnum(char: int) -> bool:
    """isalnum of the kernel's ctype table, which is Latin-1."""
    if char < 128:
        return 48 <= char <= 57 or 65 <= char <= 90 or 97 <= char <= 122
    return char >= 0xC0 and char not in (0xD7, 0xF7)


def _is_upper(char: int) -> bool:
    return 65 <= char <= 90 or (0xC0 <= char <= 0xDE and char != 0xD7)


def _is_lower(char: int) -> bool:
    return 97 <= char <= 122 or (char >= 0xDF and char != 0xF7)


class LineDiscipline:
    """N_TTY of one terminal.

    ``buf``: input not yet read; its first ``canon`` bytes are complete lines, whose ends ``marks`` (a
    byte for each of ``buf``) tells. An end-of-file character is kept as a marked NUL.
    """

    __slots__ = (
        "buf", "canon", "canon_col", "canonical", "column", "echoes", "erasing",
        "in_flight", "literal_next", "marks",
        "no_room", "port", "push", "raw",
        "receiving", "special", "termios",
    )  # fmt: skip

    def __init__(self, port: Port, termios: Termios) -> None:
        self.port = port
        self.buf = bytearray()
        self.marks = bytearray()
        self.canon = 0
        self.echoes: deque[int] = deque()
        self.column = 0
        self.canon_col = 0
        self.erasing = False
        self.literal_next = False
        self.push = False
        #: echoes sent while input is being received: a ^C among the same bytes takes them back
        self.in_flight = bytearray()
        self.receiving = False
        #: input had to be left with the sender: nothing is read until some of it is taken
        self.no_room = False
        self.canonical = False
        self.raw = False
        #: characters that need a look, when not raw
        self.special: frozenset[int] = frozenset()
        self.termios = termios
        self._set(termios, None)

    # -- settings -----------------------------------------------------------------------------

    def set_termios(self, new: Termios) -> None:
        """Change the settings (n_tty_set_termios)."""
        old, self.termios = self.termios, new
        self._set(new, old)

    def _set(self, new: Termios, old: Termios | None) -> None:
        if old is None or (old.lflag ^ new.lflag) & (ICANON | EXTPROC):
            self.marks = bytearray(len(self.buf))
            if not new.lflag & ICANON or not self.buf:
                self.canon = 0
                self.push = False
            else:
                self.marks[-1] = 1
                self.canon = len(self.buf)
                self.push = True
            self.erasing = False
            self.literal_next = False
        self.canonical = bool(new.lflag & ICANON)
        iflag, lflag = new.iflag, new.lflag
        if iflag & (ISTRIP | IUCLC | IGNCR | ICRNL | INLCR | IXON | PARMRK) or lflag & (ICANON | ISIG | ECHO):
            self.raw = False
            self.special = self._special_characters(new)
        else:
            self.raw = True
            self.special = frozenset()
        if not iflag & IXON and old is not None and old.iflag & IXON and not self.port.output_off:
            self.port.start_output()
            self.process_echoes()

    @staticmethod
    def _special_characters(termios: Termios) -> frozenset[int]:
        iflag, lflag, cc = termios.iflag, termios.lflag, termios.cc
        chars: set[int] = set()
        if iflag & (IGNCR | ICRNL):
            chars.add(_RETURN)
        if iflag & INLCR:
            chars.add(_NEWLINE)
        if lflag & ICANON:
            chars.update((cc[VERASE], cc[VKILL], cc[VEOF], _NEWLINE, cc[VEOL]))
            if lflag & IEXTEN:
                chars.update((cc[VWERASE], cc[VLNEXT], cc[VEOL2]))
                if lflag & ECHO:
                    chars.add(cc[VREPRINT])
        if iflag & IXON:
            chars.update((cc[VSTART], cc[VSTOP]))
        if lflag & ISIG:
            chars.update((cc[VINTR], cc[VQUIT], cc[VSUSP]))
        chars.discard(DISABLED)
        return frozenset(chars)

    def _line_mode(self) -> bool:
        return self.canonical and not self.termios.lflag & EXTPROC

    # -- input --------------------------------------------------------------------------------

    def receive(self, data: bytes | bytearray | memoryview) -> int:
        """Take input from the other side; how much was taken (n_tty_receive_buf_common).

        A full buffer without a complete line takes more: each character replaces the last, so that a
        newline can still end the line."""
        data = bytes(data)
        done = 0
        while done < len(data):
            room = BUFFER_SIZE - len(self.buf)
            if self.termios.iflag & PARMRK:
                room = (room + 2) // 3
            room -= 1
            overflow = False
            if room <= 0:
                overflow = self.canonical and self.canon == 0
                if overflow and room < 0:
                    self.buf.pop()
                    self.marks.pop()
                room = int(overflow)
                self.no_room = not room
            count = min(len(data) - done, room)
            if not count:
                break
            self._receive(data[done : done + count])
            done += count
        return done

    def _receive(self, data: bytes) -> None:
        if self.raw or (self.termios.lflag & EXTPROC and not self.termios.iflag & (ISTRIP | IUCLC)):
            self._put_all(data)
        else:
            lflag, iflag = self.termios.lflag, self.termios.iflag
            plain = (
                not lflag & ECHO
                and not self.literal_next
                and not iflag & (ISTRIP | IUCLC | PARMRK | IXANY)
                and self.special.isdisjoint(data)
            )
            if plain:
                self._put_all(data)
            else:
                self.receiving = True
                for char in data:
                    self._receive_char(char)
            self.process_echoes()
            self.receiving = False
            if self.in_flight:
                self.port.output(bytes(self.in_flight))
                self.in_flight.clear()
        if self._line_mode():
            return
        if self.buf:
            self.port.input_arrived()

    def _put_all(self, data: bytes) -> None:
        self.buf += data
        self.marks += bytes(len(data))

    def _put(self, char: int) -> None:
        self.buf.append(char)
        self.marks.append(0)

    def _receive_char(self, char: int) -> None:
        iflag, lflag = self.termios.iflag, self.termios.lflag
        if self.literal_next:
            self.literal_next = False
            self._ordinary(self._strip(char))
            return
        char = self._strip(char)
        if lflag & EXTPROC:
            self._put(char)
        elif char in self.special:
            self._special(char)
        else:
            if iflag & IXANY:
                self._restart_if_any()
            self._ordinary(char)

    def _strip(self, char: int) -> int:
        if self.termios.iflag & ISTRIP:
            char &= 0x7F
        if self.termios.iflag & IUCLC and self.termios.lflag & IEXTEN and _is_upper(char):
            char += 32
        return char

    def _restart_if_any(self) -> None:
        """IXANY: any character starts stopped output."""
        if self.port.flow_stopped and not self.port.output_off and self.termios.iflag & IXON:
            self.port.start_output()
            self.process_echoes()

    def _ordinary(self, char: int) -> None:
        """A character that means itself (n_tty_receive_char)."""
        if self.termios.lflag & ECHO:
            self._finish_erasing()
            if self.canon == len(self.buf):
                self.echoes.append(_SET_CANON_COL)
            self._echo(char)
        if char == _FF and self.termios.iflag & PARMRK:
            self._put(char)
        self._put(char)

    def _special(self, char: int) -> None:
        iflag, lflag, cc = self.termios.iflag, self.termios.lflag, self.termios.cc
        if iflag & IXON:
            if char == cc[VSTART]:
                if not self.port.output_off:
                    self.port.start_output()
                self.process_echoes()
                return
            if char == cc[VSTOP]:
                self.port.stop_output()
                return
        if lflag & ISIG:
            for index, signo in ((VINTR, SIGINT), (VQUIT, SIGQUIT), (VSUSP, SIGTSTP)):
                if char == cc[index]:
                    self._signal_char(signo, char)
                    return
        if iflag & IXANY:
            self._restart_if_any()
        if char == _RETURN:
            if iflag & IGNCR:
                return
            if iflag & ICRNL:
                char = _NEWLINE
        elif char == _NEWLINE and iflag & INLCR:
            char = _RETURN
        if self.canonical and self._canonical_char(char):
            return
        if lflag & ECHO:
            self._finish_erasing()
            if char == _NEWLINE:
                self._echo_raw(_NEWLINE)
            else:
                if self.canon == len(self.buf):
                    self.echoes.append(_SET_CANON_COL)
                self._echo(char)
        if char == _FF and iflag & PARMRK:
            self._put(char)
        self._put(char)

    def _signal_char(self, signo: int, char: int) -> None:
        """^C, ^\\, ^Z: signal, and unless NOFLSH throw away what is under way in both directions."""
        self.port.signal(signo)
        if not self.termios.lflag & NOFLSH:
            self.echoes.clear()
            self.in_flight.clear()
            self.port.flush_output()
            self._reset_buffer()
            self.port.input_flushed()
        if self.termios.iflag & IXON and not self.port.output_off:
            self.port.start_output()
        if self.termios.lflag & ECHO:
            self._echo(char)

    def _canonical_char(self, char: int) -> bool:
        """Editing and line ends; True if that was all about ``char`` (n_tty_receive_char_canon)."""
        lflag, cc = self.termios.lflag, self.termios.cc
        extended = bool(lflag & IEXTEN)
        if char != DISABLED:
            if char in (cc[VERASE], cc[VKILL]) or (extended and char == cc[VWERASE]):
                self._erase(char)
                return True
            if extended and char == cc[VLNEXT]:
                self.literal_next = True
                if lflag & ECHO:
                    self._finish_erasing()
                    if lflag & ECHOCTL:
                        self._echo_raw(94)
                        self._echo_raw(_BACKSPACE)
                return True
            if extended and char == cc[VREPRINT] and lflag & ECHO:
                self._finish_erasing()
                self._echo(char)
                self._echo_raw(_NEWLINE)
                for kept in self.buf[self.canon :]:
                    self._echo(kept)
                return True
        if char == _NEWLINE:
            if lflag & (ECHO | ECHONL):
                self._echo_raw(_NEWLINE)
            self._end_line(char)
            return True
        if char != DISABLED:
            if char == cc[VEOF]:
                self._end_line(DISABLED)
                return True
            if char == cc[VEOL] or (extended and char == cc[VEOL2]):
                if lflag & ECHO:
                    if self.canon == len(self.buf):
                        self.echoes.append(_SET_CANON_COL)
                    self._echo(char)
                if char == _FF and self.termios.iflag & PARMRK:
                    self._put(char)
                self._end_line(char)
                return True
        return False

    def _end_line(self, char: int) -> None:
        self.buf.append(char)
        self.marks.append(1)
        self.canon = len(self.buf)
        self.port.input_arrived()

    def _is_continuation(self, char: int) -> bool:
        """The second or a later byte of a UTF-8 character."""
        return bool(self.termios.iflag & IUTF8) and char & 0xC0 == 0x80

    def _erase(self, char: int) -> None:
        """ERASE, WERASE or KILL (eraser)."""
        lflag, cc = self.termios.lflag, self.termios.cc
        buf = self.buf
        if len(buf) == self.canon:
            return
        kill = False
        if char == cc[VERASE]:
            word = False
        elif char == cc[VWERASE]:
            word = True
        else:
            word = False
            kill = True
            if not lflag & ECHO or not (lflag & ECHOK and lflag & ECHOKE and lflag & ECHOE):
                del buf[self.canon :], self.marks[self.canon :]
                if lflag & ECHO:
                    self._finish_erasing()
                    self._echo(cc[VKILL])
                    if lflag & ECHOK:
                        self._echo_raw(_NEWLINE)
                return
        seen_alnum = False
        while len(buf) > self.canon:
            head = len(buf) - 1
            while self._is_continuation(buf[head]) and head > self.canon:
                head -= 1
            erased = buf[head]
            if self._is_continuation(erased):
                break
            if word:
                if _is_alnum(erased) or erased == 95:
                    seen_alnum = True
                elif seen_alnum:
                    break
            rest = bytes(buf[head + 1 :])
            del buf[head:], self.marks[head:]
            if lflag & ECHO:
                self._echo_erased(erased, rest, not word and not kill)
            if not word and not kill:
                break
        if len(buf) == self.canon and lflag & ECHO:
            self._finish_erasing()

    def _echo_erased(self, erased: int, rest: bytes, single: bool) -> None:
        """Show that the character ``erased`` (with the bytes ``rest`` behind it, in UTF-8) is gone."""
        lflag = self.termios.lflag
        if lflag & ECHOPRT:
            if not self.erasing:
                self._echo_raw(92)
                self.erasing = True
            self._echo(erased)
            for more in rest:
                self._echo_raw(more)
                self.echoes.append(_MOVE_BACK_COL)
        elif single and not lflag & ECHOE:
            self._echo(self.termios.cc[VERASE])
        elif erased == _TAB:
            columns = 0
            behind_tab = False
            for before in reversed(self.buf[self.canon :]):
                if before == _TAB:
                    behind_tab = True
                    break
                if _is_control(before):
                    if lflag & ECHOCTL:
                        columns += 2
                elif not self._is_continuation(before):
                    columns += 1
            self.echoes.append(_ERASE_TAB | columns & 7 | (0x80 if behind_tab else 0))
        else:
            control = _is_control(erased)
            if control and lflag & ECHOCTL:
                self.echoes.extend((_BACKSPACE, 32, _BACKSPACE))
            if not control or lflag & ECHOCTL:
                self.echoes.extend((_BACKSPACE, 32, _BACKSPACE))

    def _finish_erasing(self) -> None:
        if self.erasing:
            self._echo_raw(47)
            self.erasing = False

    # -- echo ---------------------------------------------------------------------------------

    def _echo_raw(self, char: int) -> None:
        self.echoes.append(_LITERAL_FF if char == _FF else char)

    def _echo(self, char: int) -> None:
        if char == _FF:
            self.echoes.append(_LITERAL_FF)
        elif self.termios.lflag & ECHOCTL and _is_control(char) and char != _TAB:
            self.echoes.append(_CTRL | char)
        else:
            self.echoes.append(char)

    def process_echoes(self) -> None:
        """Send what is to be echoed, as far as there is room for it."""
        echoes = self.echoes
        if not echoes:
            return
        room = self.port.output_room() - len(self.in_flight)
        out = bytearray()
        post = self.termios.oflag & OPOST
        while echoes:
            op = echoes[0]
            left = room - len(out)
            if op < 256:
                if left < 8:
                    # What the longest expansion (a tab) takes; nearly never seen.
                    if left <= 0 or (post and op in (_NEWLINE, _TAB)):
                        break
                if post:
                    self._process(op, out)
                else:
                    out.append(op)
            elif op == _SET_CANON_COL:
                self.canon_col = self.column
            elif op == _MOVE_BACK_COL:
                self.column = max(self.column - 1, 0)
            elif op == _LITERAL_FF:
                if left < 1:
                    break
                out.append(_FF)
                self.column += 1
            elif op & _ERASE_TAB:
                columns = op & 0xFF
                if not columns & 0x80:
                    columns += self.canon_col
                back = 8 - (columns & 7)
                if back > left:
                    break
                out += b"\b" * back
                self.column = max(self.column - back, 0)
            else:
                if left < 2:
                    break
                out.append(94)
                out.append(op & 0xFF ^ 0x40)
                self.column += 2
            echoes.popleft()
        if self.receiving:
            self.in_flight += out
        elif out:
            self.port.output(bytes(out))
        while len(echoes) > BUFFER_SIZE:
            echoes.popleft()

    # -- output -------------------------------------------------------------------------------

    def _process(self, char: int, out: bytearray) -> None:
        """Output processing of one character (do_output_char); at most 8 bytes come of it."""
        oflag = self.termios.oflag
        if char == _NEWLINE:
            if oflag & ONLRET:
                self.column = 0
            if oflag & ONLCR:
                self.canon_col = self.column = 0
                out += b"\r\n"
                return
            self.canon_col = self.column
        elif char == _RETURN:
            if oflag & ONOCR and self.column == 0:
                return
            if oflag & OCRNL:
                char = _NEWLINE
                if oflag & ONLRET:
                    self.canon_col = self.column = 0
            else:
                self.canon_col = self.column = 0
        elif char == _TAB:
            spaces = 8 - (self.column & 7)
            self.column += spaces
            if oflag & TABDLY == XTABS:
                out += b" " * spaces
                return
        elif char == _BACKSPACE:
            if self.column > 0:
                self.column -= 1
        elif not _is_control(char):
            if oflag & OLCUC and _is_lower(char):
                char -= 32
            if not self._is_continuation(char):
                self.column += 1
        out.append(char)

    def write(self, data: bytes) -> int:
        """Send ``data``, processed; how many of its bytes were taken (0: no room)."""
        self.process_echoes()
        port = self.port
        room = port.output_room()
        if room <= 0:
            return 0
        oflag = self.termios.oflag
        if not oflag & OPOST:
            return port.output(data[:room])
        simple = not oflag & (OLCUC | ONLRET | OCRNL) and not data.translate(None, _PLAIN_WITH_NEWLINE)
        newlines = data.count(b"\n")
        if simple and oflag & ONLCR and len(data) + newlines <= room:
            if newlines:
                self.column = len(data) - data.rindex(b"\n") - 1
                self.canon_col = 0
                data = data.replace(b"\n", b"\r\n")
                port.output(data)
                return len(data) - newlines
            self.column += len(data)
            return port.output(data)
        out = bytearray()
        done = 0
        for char in data:
            if room - len(out) < 8:
                if room - len(out) <= 0 or char in (_NEWLINE, _TAB):
                    # A newline may still fit, in two bytes; so that the last bytes of room are of use.
                    if char != _NEWLINE or room - len(out) < 2:
                        break
            self._process(char, out)
            done += 1
        if out:
            port.output(bytes(out))
        return done

    # -- reading ------------------------------------------------------------------------------

    def available(self, minimum: int = 1) -> bool:
        """Is there a line (canonical mode), or are there ``minimum`` bytes, to read?"""
        if self._line_mode():
            return self.canon > 0
        return len(self.buf) >= minimum

    def read(self, count: int) -> bytes:
        """What is there, up to ``count`` bytes: of one line in canonical mode (where b"" is an end of
        file), else of all of it. The caller has seen that something is ``available``."""
        if not self._line_mode():
            data = bytes(self.buf[:count])
            if data and self.termios.lflag & EXTPROC and self.canonical:
                # EXTPROC with ICANON: the end-of-file character alone is an empty read.
                if len(data) == 1 and len(self.buf) == 1 and data[0] == self.termios.cc[VEOF]:
                    self._consume(1)
                    return b""
            self._consume(len(data))
            return data
        limit = min(count, self.canon)
        end = self.marks.find(1, 0, limit)
        if end >= 0:
            data = bytes(self.buf[:end] if self.buf[end] == DISABLED else self.buf[: end + 1])
            self._consume(end + 1)
            self.push = False
            return data
        data = bytes(self.buf[:limit])
        self._consume(limit)
        # A read that took exactly what an end-of-file character pushed takes that too (canon_skip_eof).
        if self.canon and self.marks[0] and self.buf[0] == DISABLED:
            self._consume(1)
        return data

    def _consume(self, count: int) -> None:
        del self.buf[:count], self.marks[:count]
        self.canon = max(self.canon - count, 0)

    def waiting(self) -> int:
        """How many bytes could be read (FIONREAD)."""
        if not self._line_mode():
            return len(self.buf)
        return sum(
            1
            for char, mark in zip(self.buf[: self.canon], self.marks[: self.canon], strict=True)
            if not (mark and char == DISABLED)
        )

    def flush_input(self) -> None:
        """Throw away the input (TCFLSH)."""
        self._reset_buffer()
        self.port.input_flushed()

    def _reset_buffer(self) -> None:
        self.buf.clear()
        self.marks.clear()
        self.canon = 0
        self.no_room = False
        self.echoes.clear()
        self.erasing = False
        self.push = False
        self.literal_next = False
