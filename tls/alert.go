package tls

import "strconv"

// Alert is a TLS alert description (RFC 8446, 6).
type Alert uint8

// Alerts that this package sends by name. Peers, and crypto/tls during the handshake, send others too.
const (
	AlertCloseNotify           Alert = 0
	AlertUnexpectedMessage     Alert = 10
	AlertBadRecordMAC          Alert = 20
	AlertRecordOverflow        Alert = 22
	AlertHandshakeFailure      Alert = 40
	AlertBadCertificate        Alert = 42
	AlertUnknownCA             Alert = 48
	AlertIllegalParameter      Alert = 47
	AlertDecodeError           Alert = 50
	AlertDecryptError          Alert = 51
	AlertProtocolVersion       Alert = 70
	AlertInternalError         Alert = 80
	AlertUserCanceled          Alert = 90
	AlertMissingExtension      Alert = 109
	AlertUnsupportedExtension  Alert = 110
	AlertCertificateRequired   Alert = 116
	AlertNoApplicationProtocol Alert = 120
)

const (
	alertLevelWarning = 1
	alertLevelFatal   = 2
)

// String returns the name in RFC 8446's spelling. Any goroutine.
func (a Alert) String() string {
	switch a {
	case AlertCloseNotify:
		return "close_notify"
	case AlertUnexpectedMessage:
		return "unexpected_message"
	case AlertBadRecordMAC:
		return "bad_record_mac"
	case AlertRecordOverflow:
		return "record_overflow"
	case AlertHandshakeFailure:
		return "handshake_failure"
	case AlertBadCertificate:
		return "bad_certificate"
	case 43:
		return "unsupported_certificate"
	case 44:
		return "certificate_revoked"
	case 45:
		return "certificate_expired"
	case 46:
		return "certificate_unknown"
	case AlertIllegalParameter:
		return "illegal_parameter"
	case AlertUnknownCA:
		return "unknown_ca"
	case 49:
		return "access_denied"
	case AlertDecodeError:
		return "decode_error"
	case AlertDecryptError:
		return "decrypt_error"
	case AlertProtocolVersion:
		return "protocol_version"
	case 71:
		return "insufficient_security"
	case AlertInternalError:
		return "internal_error"
	case 86:
		return "inappropriate_fallback"
	case AlertUserCanceled:
		return "user_canceled"
	case AlertMissingExtension:
		return "missing_extension"
	case AlertUnsupportedExtension:
		return "unsupported_extension"
	case 112:
		return "unrecognized_name"
	case 113:
		return "bad_certificate_status_response"
	case 115:
		return "unknown_psk_identity"
	case AlertCertificateRequired:
		return "certificate_required"
	case AlertNoApplicationProtocol:
		return "no_application_protocol"
	case 121:
		return "ech_required"
	}
	return "alert " + strconv.Itoa(int(a))
}

// level is what goes beside the description on the wire.
func (a Alert) level() byte {
	if a == AlertCloseNotify || a == AlertUserCanceled {
		return alertLevelWarning
	}
	return alertLevelFatal
}
