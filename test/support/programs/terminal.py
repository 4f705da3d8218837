# Runs a program in a pseudo terminal: terminal.py SECONDS STEPS PROGRAM ARGUMENTS...
# STEPS is JSON, [[text to wait for, text to type], ...]. Prints JSON: what was shown and the exit code, null if it had to be killed.
import json, os, pty, select, sys, time

seconds, steps = float(sys.argv[1]), json.loads(sys.argv[2])
pid, terminal = pty.fork()
if pid == 0:
    os.execvp(sys.argv[3], sys.argv[3:])
deadline = time.time() + seconds
shown, seen, ended = b"", 0, False
while not ended and time.time() < deadline:
    if select.select([terminal], [], [], 0.05)[0]:
        try:
            piece = os.read(terminal, 65536)
        except OSError:  # the other side is gone
            piece = b""
        ended = piece == b""
        shown += piece
    if steps and steps[0][0].encode() in shown[seen:]:
        time.sleep(0.3)
        seen = len(shown)
        os.write(terminal, steps.pop(0)[1].encode())
code = None
while code is None and time.time() < deadline:
    done, status = os.waitpid(pid, os.WNOHANG)
    if done:
        code = os.waitstatus_to_exitcode(status)
    time.sleep(0.02)
if code is None:
    os.kill(pid, 9)
    os.waitpid(pid, 0)
print(json.dumps({"shown": shown.decode(errors="replace"), "code": code, "left": len(steps)}))
