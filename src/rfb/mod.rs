//! RFB 3.8 (RFC 6143), the protocol of VNC: server and client.
