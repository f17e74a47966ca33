package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/ron-transport/ron-transport/framer"
	"github.com/ron-transport/ron-transport/reactor"
	"github.com/ron-transport/ron-transport/tls"
)

// The TLS echo server also answers POST /echo over HTTP/1.1, so that HTTP load tools can be pointed at it (seed §2.2). Which of the two a
// connection speaks is agreed on by ALPN; one without ALPN is told by its first byte, so that a connection that has agreed on OAP/1 pays nothing.

// alpnHTTP is HTTP/1.1's name in ALPN (RFC 7301, 6).
const alpnHTTP = "http/1.1"

// Bounds of a request.
const (
	maxHTTPHead = 16 << 10 // the request line and the headers; net/http's own client sends some 200 bytes
	maxHTTPBody = framer.MaxPayload
	// maxHTTPChunked bounds a request whose body comes in chunks: the body and as much again of what is around them.
	maxHTTPChunked = maxHTTPHead + 2*maxHTTPBody
)

// protocol is what a connection over TLS speaks.
func (s *ourServer) protocol(c *reactor.Conn) reactor.Protocol {
	filter, ok := c.Filter().(*tls.Conn)
	if !ok {
		return s.endpoint.Session(c)
	}
	switch filter.State().ALPN {
	case alpnHTTP:
		return &httpEcho{s: s, c: c}
	case "":
		return &sniffer{s: s, c: c}
	}
	return s.endpoint.Session(c)
}

// sniffer finds out what a connection speaks by its first byte: a frame's is 0, for its length is below 2^24; a request's is a letter.
type sniffer struct {
	s *ourServer
	c *reactor.Conn
	reactor.Protocol
}

func (n *sniffer) OnOpen() {}

func (n *sniffer) OnData(p []byte) (int, int, error) {
	if n.Protocol == nil {
		if n.Protocol = n.s.endpoint.Session(n.c); p[0] != 0 {
			n.Protocol = &httpEcho{s: n.s, c: n.c}
		}
		n.Protocol.OnOpen()
	}
	return n.Protocol.OnData(p)
}

func (n *sniffer) OnEOF() bool { return n.Protocol != nil && n.Protocol.OnEOF() }

func (n *sniffer) OnDrained() {
	if n.Protocol != nil {
		n.Protocol.OnDrained()
	}
}

func (n *sniffer) OnGoodbye(cause error) {
	if n.Protocol != nil {
		n.Protocol.OnGoodbye(cause)
	}
}

func (n *sniffer) OnShutdown() (stay bool) {
	l, ok := n.Protocol.(reactor.Leaver)
	return ok && l.OnShutdown()
}

func (n *sniffer) OnClose(cause error) {
	if n.Protocol != nil {
		n.Protocol.OnClose(cause)
	}
}

// httpEcho is one connection that speaks HTTP/1.1. Loop only.
type httpEcho struct {
	s         *ourServer
	c         *reactor.Conn
	frames    uint64
	continued bool // the client of the request under way has been told to go on
	closing   bool
}

func (h *httpEcho) OnOpen() { h.s.accepted.Add(1) }

// errIncomplete: the request is not all there.
var errIncomplete = errors.New("incomplete request")

// OnData answers the requests that are complete, in order.
func (h *httpEcho) OnData(p []byte) (consumed, need int, err error) {
	for consumed < len(p) && !h.closing {
		n, need, err := h.request(p[consumed:])
		if errors.Is(err, errIncomplete) {
			return consumed, need, nil
		}
		if err != nil {
			return consumed, 0, err
		}
		consumed += n
		h.continued = false
	}
	if h.closing {
		consumed = len(p)
	}
	return consumed, 0, nil
}

// request answers the request at the start of p and returns its length. errIncomplete: need is how much of it must be there; 0: unknown.
func (h *httpEcho) request(p []byte) (n, need int, err error) {
	end := bytes.Index(p[:min(len(p), maxHTTPHead)], []byte("\r\n\r\n"))
	if end < 0 && len(p) < maxHTTPHead {
		return 0, 0, errIncomplete
	}
	if end < 0 {
		return len(p), 0, h.refuse(http.StatusRequestHeaderFieldsTooLarge)
	}
	src := bytes.NewReader(p)
	buf := bufio.NewReaderSize(src, 16)
	r, err := http.ReadRequest(buf)
	if err != nil {
		return len(p), 0, h.refuse(http.StatusBadRequest)
	}
	var body []byte
	switch n = end + 4; {
	case r.ContentLength > maxHTTPBody:
		return len(p), 0, h.refuse(http.StatusRequestEntityTooLarge)
	case r.ContentLength >= 0:
		need = n + int(r.ContentLength)
		if len(p) < need {
			h.goOn(r)
			return 0, need, errIncomplete
		}
		body, n = p[n:need], need
	default: // chunked
		if body, err = io.ReadAll(io.LimitReader(r.Body, maxHTTPBody+1)); err != nil && strings.Contains(err.Error(), "unexpected EOF") && len(p) < maxHTTPChunked { // io's, or that of a trailer
			h.goOn(r)
			return 0, 0, errIncomplete
		}
		if len(body) > maxHTTPBody || len(p) >= maxHTTPChunked {
			return len(p), 0, h.refuse(http.StatusRequestEntityTooLarge)
		}
		if err != nil {
			return len(p), 0, h.refuse(http.StatusBadRequest)
		}
		n = len(p) - src.Len() - buf.Buffered()
	}
	return n, 0, h.answer(r, body)
}

// goOn tells a client that waits for it to send the body (RFC 9110, 10.1.1).
func (h *httpEcho) goOn(r *http.Request) {
	if !h.continued && strings.EqualFold(r.Header.Get("Expect"), "100-continue") {
		_ = h.c.Write([]byte("HTTP/1.1 100 Continue\r\n\r\n")) // a closing connection says nothing
	}
	h.continued = true
}

// answer echoes a request's body, or says why not.
func (h *httpEcho) answer(r *http.Request, body []byte) error {
	status, more := http.StatusOK, ""
	switch {
	case r.URL.Path != "/echo":
		status = http.StatusNotFound
	case r.Method != http.MethodPost:
		status, more = http.StatusMethodNotAllowed, "Allow: POST\r\n"
	}
	if status != http.StatusOK {
		body = []byte(http.StatusText(status) + "\n")
	} else if h.frames++; r.Header.Get("Content-Type") != "" {
		more = "Content-Type: " + r.Header.Get("Content-Type") + "\r\n"
	}
	if h.closing = r.Close; r.Close {
		more += "Connection: close\r\n"
	} else if !r.ProtoAtLeast(1, 1) {
		more += "Connection: keep-alive\r\n"
	}
	if r.Method == http.MethodHead {
		body = nil
	}
	return h.respond(status, more, body)
}

// refuse answers what cannot be understood, or is too large, and ends the connection: where the next request begins is not known.
func (h *httpEcho) refuse(status int) error {
	h.closing = true
	return h.respond(status, "Connection: close\r\n", []byte(http.StatusText(status)+"\n"))
}

// respond writes a response.
func (h *httpEcho) respond(status int, more string, body []byte) error {
	head := fmt.Appendf(nil, "HTTP/1.1 %d %s\r\n%sContent-Length: %d\r\n\r\n", status, http.StatusText(status), more, len(body))
	err := h.c.Write(head)
	if err == nil && len(body) > 0 {
		err = h.c.Write(body)
	}
	if err == nil && h.closing {
		h.c.Close(nil)
	}
	return err
}

func (h *httpEcho) OnEOF() bool     { return false }
func (h *httpEcho) OnDrained()      {}
func (h *httpEcho) OnGoodbye(error) {}

func (h *httpEcho) OnClose(cause error) {
	h.s.frames.Add(h.frames)
	if cause != nil && !errors.Is(cause, reactor.ErrShuttingDown) {
		h.s.failed.Add(1)
	}
}
