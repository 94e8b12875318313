"""What is asked of the server beside steps, a call each: sessions opened, ended, asked about; whole sequences run."""
