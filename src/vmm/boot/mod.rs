//! What a guest finds at power-on: firmware and its configuration.
