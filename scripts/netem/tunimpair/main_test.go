package main

import (
	"bytes"
	"strings"
	"testing"
)

// Every refusal names the flag and what is allowed, and makes nothing.
func TestRefusals(t *testing.T) {
	for args, want := range map[string]string{
		"":                                   "--ns-a",
		"--ns-a x":                           "--ns-b",
		"--ns-a x --ns-b y argument":         "argument",
		"--ns-a x --ns-b y --loss 101":       "0 to 100",
		"--ns-a x --ns-b y --rate 5":         "mbit",
		"--ns-a x --ns-b y --delay 11s":      "0 to 10s",
		"--ns-a x --ns-b y --jitter 1ms":     "jitter 1ms",
		"--ns-a x --ns-b y --reorder 5":      "reorder",
		"--ns-a x --ns-b y --mtu 100":        "576 to 65535",
		"--ns-a x --ns-b y --queue -1":       "queue packets -1",
		"--ns-a x --ns-b y --addr-a 1.2.3.4": "addr-a",
		"--ns-a x --ns-b y --addr-b ::1/64":  "two IPv4 addresses",
		"--frob":                             "frob",
	} {
		var stdout, stderr bytes.Buffer
		if status := run(strings.Fields(args), strings.NewReader(""), &stdout, &stderr); status != exitUsage || stdout.Len() > 0 || !strings.Contains(stderr.String(), want) {
			t.Errorf("%q: exit status %d, %q; want %q", args, status, stderr.String(), want)
		}
	}
	var stdout, stderr bytes.Buffer
	if status := run([]string{"--help"}, nil, &stdout, &stderr); status != 0 || !strings.Contains(stderr.String(), "the round trip is twice that") {
		t.Errorf("--help: exit status %d, %q", status, stderr.String())
	}
	if status := run(strings.Fields("--ns-a /dev/null --ns-b /dev/null"), nil, &stdout, &stderr); status != exitFailed || stdout.Len() > 0 {
		t.Errorf("no namespaces: exit status %d, %q", status, stderr.String())
	}
}
