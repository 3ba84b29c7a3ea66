"""Changes of waveforms."""
