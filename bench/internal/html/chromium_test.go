package html

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// browser is a headless Chromium that is told what to do over two pipes, in its DevTools protocol. The command line alone
// would not do: it has no windows as narrow as a phone.
type browser struct {
	t       *testing.T
	cmd     *exec.Cmd
	to      *os.File
	from    *bufio.Reader
	session string
	next    int
	loads   []string // addresses that a page asked for
	faults  []string // exceptions of scripts, and what the browser logged as an error
}

// Limits of the browser's work. All are generous: a machine may be busy.
const (
	callTimeout = 60 * time.Second
	drawTimeout = 30 * time.Second
	// closeTimeout is for a browser that is to end by itself, before it is ended.
	closeTimeout = 10 * time.Second
)

// startBrowser skips the test where there is no Chromium.
func startBrowser(t *testing.T) *browser {
	t.Helper()
	path, err := exec.LookPath("chromium")
	if err != nil {
		t.Skip("no chromium in PATH: the page is not opened in a browser")
	}
	toRead, toWrite, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	fromRead, fromWrite, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(path, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--remote-debugging-pipe",
		"--hide-scrollbars", "--host-resolver-rules=MAP * ~NOTFOUND", "--disable-background-networking", "--disable-component-update",
		"--user-data-dir="+t.TempDir(), "about:blank")
	cmd.Env = append(os.Environ(), "TMPDIR="+t.TempDir()) // it leaves files behind when it is ended
	cmd.ExtraFiles = []*os.File{toRead, fromWrite}        // descriptors 3 and 4
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // it ends also when its pipes do, as with this process
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	toRead.Close()
	fromWrite.Close()
	b := &browser{t: t, cmd: cmd, to: toWrite, from: bufio.NewReader(fromRead)}
	t.Cleanup(func() {
		b.session = ""
		_ = b.call("Browser.close", nil, nil) // it puts its files away; what is left of its group is ended
		stop := time.AfterFunc(closeTimeout, func() { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) })
		_ = cmd.Wait()
		stop.Stop()
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		for end := time.Now().Add(closeTimeout); syscall.Kill(-cmd.Process.Pid, 0) == nil && time.Now().Before(end); {
			time.Sleep(20 * time.Millisecond) // its renderers still write to the directory that is removed next
		}
		toWrite.Close()
		fromRead.Close()
	})
	if err := fromRead.SetReadDeadline(time.Now().Add(callTimeout)); err != nil {
		t.Fatal(err)
	}
	b.attach()
	if err := fromRead.SetReadDeadline(time.Time{}); err != nil {
		t.Fatal(err)
	}
	return b
}

// attach opens a page and listens to it.
func (b *browser) attach() {
	b.t.Helper()
	var target struct{ TargetID string }
	b.must("Target.createTarget", map[string]any{"url": "about:blank"}, &target)
	var session struct{ SessionID string }
	b.must("Target.attachToTarget", map[string]any{"targetId": target.TargetID, "flatten": true}, &session)
	b.session = session.SessionID
	for _, domain := range []string{"Page", "Runtime", "Network", "Log"} {
		b.must(domain+".enable", nil, nil)
	}
}

// message is what goes over the pipes.
type message struct {
	ID     int             `json:"id"`
	Method string          `json:"method"`
	Params json.RawMessage `json:"params"`
	Result json.RawMessage `json:"result"`
	Error  *struct{ Message string }
}

func (b *browser) must(method string, params any, result any) {
	b.t.Helper()
	if err := b.call(method, params, result); err != nil {
		b.t.Fatalf("%s: %v", method, err)
	}
}

// call asks for one thing, and notes what happens in between.
func (b *browser) call(method string, params any, result any) error {
	b.next++
	if params == nil {
		params = struct{}{}
	}
	ask := map[string]any{"id": b.next, "method": method, "params": params}
	if b.session != "" {
		ask["sessionId"] = b.session
	}
	j, err := json.Marshal(ask)
	if err != nil {
		return err
	}
	if _, err := b.to.Write(append(j, 0)); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { _ = syscall.Kill(-b.cmd.Process.Pid, syscall.SIGKILL) })
	defer stop()
	for {
		raw, err := b.from.ReadBytes(0)
		if err != nil {
			return errors.Join(err, ctx.Err())
		}
		var m message
		if err := json.Unmarshal(raw[:len(raw)-1], &m); err != nil {
			return err
		}
		b.note(&m)
		if m.ID != b.next {
			continue
		}
		if m.Error != nil {
			return errors.New(m.Error.Message)
		}
		if result == nil {
			return nil
		}
		return json.Unmarshal(m.Result, result)
	}
}

func (b *browser) note(m *message) {
	var p struct {
		Request          struct{ URL string }
		ExceptionDetails struct {
			Text      string
			Exception struct{ Description string }
		}
		Entry struct{ Level, Text string }
	}
	if m.Method == "" || json.Unmarshal(m.Params, &p) != nil {
		return
	}
	switch m.Method {
	case "Network.requestWillBeSent":
		b.loads = append(b.loads, p.Request.URL)
	case "Runtime.exceptionThrown":
		b.faults = append(b.faults, p.ExceptionDetails.Text+" "+p.ExceptionDetails.Exception.Description)
	case "Log.entryAdded":
		if p.Entry.Level == "error" {
			b.faults = append(b.faults, p.Entry.Text)
		}
	}
}

// view is how a page is looked at.
type view struct {
	width, height int
	dark, phone   bool
}

// open shows a file and waits until its script is through.
func (b *browser) open(path string, v view) {
	b.t.Helper()
	b.loads, b.faults = nil, nil
	scheme := "light"
	if v.dark {
		scheme = "dark"
	}
	b.must("Emulation.setDeviceMetricsOverride", map[string]any{"width": v.width, "height": v.height, "deviceScaleFactor": 1, "mobile": v.phone}, nil)
	b.must("Emulation.setEmulatedMedia", map[string]any{"features": []map[string]string{{"name": "prefers-color-scheme", "value": scheme}}}, nil)
	b.must("Page.navigate", map[string]any{"url": "file://" + path}, nil)
	for end := time.Now().Add(drawTimeout); ; time.Sleep(50 * time.Millisecond) {
		var ready bool
		b.eval(`document.readyState === "complete" && location.pathname.endsWith(`+jsString(path)+`) && ("charts" in document.documentElement.dataset || "error" in document.documentElement.dataset)`, &ready)
		if ready {
			break
		}
		if time.Now().After(end) {
			b.t.Fatalf("the script of %s does not come to its end; faults: %q", path, b.faults)
		}
	}
	var drawn bool // two frames later all that is to be drawn is
	b.eval(`new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => done(true))))`, &drawn)
}

func jsString(s string) string {
	j, _ := json.Marshal(s)
	return string(j)
}

// eval evaluates an expression in the page; a promise is waited for.
func (b *browser) eval(expression string, into any) {
	b.t.Helper()
	var r struct {
		Result           struct{ Value json.RawMessage }
		ExceptionDetails *struct{ Exception struct{ Description string } }
	}
	b.must("Runtime.evaluate", map[string]any{"expression": expression, "returnByValue": true, "awaitPromise": true}, &r)
	if r.ExceptionDetails != nil {
		b.t.Fatalf("%s: %s", expression, r.ExceptionDetails.Exception.Description)
	}
	if err := json.Unmarshal(r.Result.Value, into); err != nil {
		b.t.Fatalf("%s: %v", expression, err)
	}
}

// screenshot is a PNG of the whole page, or of what is at the top of it, height pixels.
func (b *browser) screenshot(width, height int) []byte {
	b.t.Helper()
	var shot struct{ Data string }
	b.must("Page.captureScreenshot", map[string]any{
		"format": "png", "captureBeyondViewport": true, "clip": map[string]any{"x": 0, "y": 0, "width": width, "height": height, "scale": 1},
	}, &shot)
	png, err := io.ReadAll(base64.NewDecoder(base64.StdEncoding, strings.NewReader(shot.Data)))
	if err != nil {
		b.t.Fatal(fmt.Errorf("the screenshot: %w", err))
	}
	return png
}
