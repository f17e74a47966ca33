package tls

import (
	stdtls "crypto/tls"
	"strings"
	"testing"
)

// TestAlertNames compares with crypto/tls's names, which differ in style only.
func TestAlertNames(t *testing.T) {
	style := strings.NewReplacer("_", " ",
		"bad record mac", "bad record MAC",
		"unknown ca", "unknown certificate authority",
		"decode error", "error decoding message",
		"decrypt error", "error decrypting message",
		"protocol version", "protocol version not supported",
		"insufficient security", "insufficient security level",
		"unknown psk identity", "unknown PSK identity",
		"ech required", "encrypted client hello required")
	moved := map[Alert]string{
		43: "unsupported certificate", 44: "revoked certificate", 45: "expired certificate", 46: "unknown certificate",
	}
	named := 0
	for i := range 256 {
		a := Alert(i)
		ours := a.String()
		if strings.HasPrefix(ours, "alert ") {
			continue
		}
		named++
		want := moved[a]
		if want == "" {
			want = style.Replace(strings.ReplaceAll(ours, "_", " "))
		}
		if got := stdtls.AlertError(a).Error(); got != "tls: "+want {
			t.Errorf("%d is %q here and %q in crypto/tls", i, ours, got)
		}
	}
	if named < 27 || Alert(200).String() != "alert 200" {
		t.Errorf("%d names, 200 is %q", named, Alert(200))
	}
}
